"""Headless training of LopsidedSeg's models: simulate, fit, evaluate, export."""
