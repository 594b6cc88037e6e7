"""How a person, a service manager and a metrics collector reach the running daemon. Reads what the parts count."""
