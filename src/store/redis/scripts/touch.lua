
-- meta.lua does the work: it creates the bucket, checks its layout and raises its values.
return { NONCE, 'ok', NOW, INCARNATION, BORN }
