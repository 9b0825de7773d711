"""Real servers for the tests: private instances on free loopback ports, data in a temporary folder."""
