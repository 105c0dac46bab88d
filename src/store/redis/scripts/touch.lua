
-- The bucket exists and is ours. There is nothing more to do.
return { NONCE, 'ok', NOW, INCARNATION, BORN }
