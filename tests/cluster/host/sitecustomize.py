"""A container has a host name of its own; here it is the variable HOSTNAME."""

import os
import socket

socket.gethostname = lambda: os.environ["HOSTNAME"]
