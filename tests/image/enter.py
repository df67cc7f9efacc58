"""Runs a program in another root as another user: `enter.py USER ROOT PROGRAM [ARGUMENT]...`. The order matters, and no
program of the machine can be run once the root is another one."""

import os
import sys

user, root, *command = sys.argv[1:]
os.chroot(root)
os.chdir("/")
os.setgroups([])
os.setgid(int(user))
os.setuid(int(user))
os.execv(command[0], command)
