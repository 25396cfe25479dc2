"""Sockets that belong to one provisioning domain: opened pinned, or not opened at all."""
