"""Bridges to MQTT brokers that a site already runs, any number, from the configuration.

`manager.Bridges` runs them, `bridge.Bridge` is one of them. The broker's side (`link`) lives in a thread of its own
with paho-mqtt; everything else on the event loop. Importing this package imports neither.
"""
