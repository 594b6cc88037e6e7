"""The protocol between routers that know versions, explored to a depth: `make model`."""
