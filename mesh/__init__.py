"""The chassis: what every Marquee service stands on."""
