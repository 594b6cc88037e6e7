"""What the board does beside routing: growing its disk, reading the settings on its card, updating itself.

Standard library only, and nothing of the daemon: these programs must work when the daemon does not.
"""
