"""Search of actions on a world model: problem, objectives, planners, the MPC loop, agents."""
