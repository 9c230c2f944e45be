"""The jobs that users run, wired from the rooms below."""
