"""From a study to its runs: factors, arms, the protocol they follow, and the plan."""
