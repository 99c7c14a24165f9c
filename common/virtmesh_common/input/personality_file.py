"""What a personality file is made of: the client writes such files, and the services read them."""

LISTS = {
    "keys": "EV_KEY",
    "relative": "EV_REL",
    "misc": "EV_MSC",
    "switches": "EV_SW",
    "leds": "EV_LED",
    "sounds": "EV_SND",
}
"""Keys of the file that list codes, and the EV_* type of the codes."""
