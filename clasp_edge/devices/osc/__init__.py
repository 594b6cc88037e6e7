"""OSC: instruments, consoles and sensors write params, and are sent what they subscribe to (router.md 10).

`decode` and `encode` are the language, without I/O; `server` puts the parts together.
"""
