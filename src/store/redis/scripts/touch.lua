
-- Nothing more: the bucket exists and is ours.
return { NONCE, 'ok', NOW, INCARNATION, BORN }
