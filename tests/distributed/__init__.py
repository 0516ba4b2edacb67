"""What the optimizer does past one process: processes to run it in (`world`) and what they run (`jobs`)."""
