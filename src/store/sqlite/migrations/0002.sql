-- Lost attempts, by when: was another worker lost about then? Whether its job paid is given back when the attempt goes on.
ALTER TABLE attempts ADD COLUMN charged INTEGER NOT NULL DEFAULT 0;
CREATE INDEX attempts_lost ON attempts (ended_at) WHERE outcome = 7;
