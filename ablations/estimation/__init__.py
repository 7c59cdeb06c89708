"""What a study will take: time, memory of devices, disk space, measured before anything is launched."""
