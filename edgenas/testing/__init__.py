"""What those use who extend edgenas: contracts that a part must meet, and doubles of boards."""
