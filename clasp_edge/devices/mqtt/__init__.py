"""The MQTT server: 3.1.1 and 5.0 clients as equals of CLASP clients, below one namespace."""
