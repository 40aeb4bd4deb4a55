"""Real servers on loopback for the tests of everything that uses the network; nothing listens outside loopback."""
