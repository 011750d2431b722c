"""PCI host bridges and chipsets."""
