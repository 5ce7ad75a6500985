# SPDX-License-Identifier: MIT
"""The launcher that runs inside every Python worker of preforkd.

The master executes __main__.py of this package in a fresh interpreter. The launcher reads its
settings from the environment, imports the application, and runs a well-kept HTTP server in this one
process on the sockets that it inherited, while one thread speaks with the master over the worker's
channel. What is said there is described in preforkd-worker(7).

Standard library only; CPython >= 3.8. Reading order: launcher, agent, channel, counting, then
servers.base and one of the servers.
"""
