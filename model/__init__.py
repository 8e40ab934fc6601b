"""The network and its text interface. Imports torch; never train/, inference/ or tool/."""
