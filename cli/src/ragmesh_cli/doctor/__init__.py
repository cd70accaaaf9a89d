"""What `ragmesh doctor` looks at. Each module holds checks of one kind: functions of a Situation that return findings,
change nothing and bound every wait."""
