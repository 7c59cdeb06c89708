"""`ablate doctor`: check whether this machine or cluster can run a study, and explain what to do if it cannot."""
