"""From a study to its runs: factors, arms, their protocol, and the plan."""
