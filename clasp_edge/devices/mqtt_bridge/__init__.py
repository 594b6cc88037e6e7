"""Bridges to MQTT brokers that a site already runs, any number, from the configuration.

`manager.Bridges` runs them, `bridge.Bridge` is one of them, `link.Link` its connection, all on the event loop. Messages
are packed and unpacked by compiled code (`flow`); OpenSSL is imported for `mqtts://` alone.
"""
