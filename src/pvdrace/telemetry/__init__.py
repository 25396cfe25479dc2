"""What people and programs get to see of a race: its timeline drawn, sinks for its report."""
