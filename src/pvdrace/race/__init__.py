"""The core, sans-IO: events go in with the time, actions come out. No socket, no clock, no await."""
