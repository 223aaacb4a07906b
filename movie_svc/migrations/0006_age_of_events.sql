-- Since when an event waits to be sent. A release before this one writes none: now() then.
ALTER TABLE outbox ADD COLUMN queued_at timestamptz NOT NULL DEFAULT now();
