"""What a host can ask of an agent, one file for each kind of question; :mod:`edgenas.lab.agent` puts them together."""
