"""`make gpu-check`: what a GPU does with all this, in twelve minutes and one file of JSON."""
