"""Real servers for the tests: started on free loopback ports in temporary folders, stopped by their process id."""
