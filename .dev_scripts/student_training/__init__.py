"""The parts of train_student.py."""
