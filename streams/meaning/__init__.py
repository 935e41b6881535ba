"""The diary by meaning: vectors of its sentences, and which are near to what is asked."""
