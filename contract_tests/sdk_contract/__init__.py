"""The contract every adapter has to fulfil: test suites, the rig that points them at a target, mini clouds."""
