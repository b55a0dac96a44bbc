"""What a process gives up before it reads hostile bytes: memory, time, files, the network and most system calls."""
