"""`ablate doctor`: whether this machine or cluster can run a study, and what to do if it cannot."""
