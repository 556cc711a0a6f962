-- Which of its attempt's checkpoints it is; 0: the worker did not say.
ALTER TABLE checkpoints ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
