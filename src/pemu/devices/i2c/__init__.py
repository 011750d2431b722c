"""I2C and SMBus controllers, and what is on such buses."""
