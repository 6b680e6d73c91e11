-- ByteTalk's tables, in the subset of SQL that SQLite and MariaDB both read. All text is bytes (UTF-8), all times are
-- milliseconds since 1970 by the store's clock. Every key begins with what it would be sharded by.

CREATE TABLE IF NOT EXISTS schema_version (
    id       INT    NOT NULL PRIMARY KEY,      -- always 1
    version  INT    NOT NULL
);

CREATE TABLE IF NOT EXISTS id_range (
    name     VARBINARY(32) NOT NULL PRIMARY KEY,
    next_id  BIGINT        NOT NULL            -- the first id that nobody has leased
);

CREATE TABLE IF NOT EXISTS account (
    user_id        BIGINT         NOT NULL PRIMARY KEY,
    name           VARBINARY(256) NOT NULL,    -- as typed
    password_hash  VARBINARY(128) NOT NULL,    -- argon2id, encoded with its parameters
    about          VARBINARY(1024) NOT NULL,
    avatar         VARBINARY(1024) NOT NULL,   -- a URL, or empty
    created_ms     BIGINT         NOT NULL,
    disabled_ms    BIGINT         NOT NULL DEFAULT 0   -- 0: may log in
);

CREATE TABLE IF NOT EXISTS account_name (
    canon    VARBINARY(512) NOT NULL PRIMARY KEY,  -- NFC, case folded: unique
    user_id  BIGINT         NOT NULL
);

CREATE TABLE IF NOT EXISTS session (
    user_id     BIGINT         NOT NULL,
    session_id  BIGINT         NOT NULL,
    device_id   BIGINT         NOT NULL,       -- chosen by the device, to find its session again; minus session_id: chose none, or ended
    device      VARBINARY(128) NOT NULL,       -- what the device calls itself
    created_ms  BIGINT         NOT NULL,
    ended_ms    BIGINT         NOT NULL DEFAULT 0,     -- 0: live
    end_reason  INT            NOT NULL DEFAULT 0,     -- why it ended: SessionEnd of client.proto
    PRIMARY KEY (user_id, session_id),
    CONSTRAINT session_device UNIQUE (user_id, device_id, ended_ms)
);
CREATE INDEX IF NOT EXISTS session_ended ON session (ended_ms);

CREATE TABLE IF NOT EXISTS friend (
    user_id    BIGINT NOT NULL,
    peer_id    BIGINT NOT NULL,
    state      INT    NOT NULL,                -- 0 none, 1 request sent, 2 request received, 3 friends
    blocked    INT    NOT NULL DEFAULT 0,      -- 1: user_id blocks peer_id
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, peer_id)
);

CREATE TABLE IF NOT EXISTS chat_group (
    group_id     BIGINT          NOT NULL PRIMARY KEY,
    creator_id   BIGINT          NOT NULL,
    request_id   BIGINT          NOT NULL,     -- the creator's id of the request: creating again finds the group
    name         VARBINARY(256)  NOT NULL,
    about        VARBINARY(1024) NOT NULL,
    join_mode    INT             NOT NULL,     -- 0 open, 1 by request, 2 by invitation
    created_ms   BIGINT          NOT NULL,
    disbanded_ms BIGINT          NOT NULL DEFAULT 0,
    member_count INT             NOT NULL DEFAULT 0,  -- rows of member with a role; changed together with them
    owner_id     BIGINT          NOT NULL DEFAULT 0,  -- whose role is 3
    CONSTRAINT chat_group_request UNIQUE (creator_id, request_id)
);

CREATE TABLE IF NOT EXISTS member (
    hi             BIGINT NOT NULL,            -- conversation: the larger user id, or the group id
    lo             BIGINT NOT NULL,            -- the smaller user id, or 0
    user_id        BIGINT NOT NULL,
    role           INT    NOT NULL,            -- 0 none (left, invited, asking), 1 member, 2 admin, 3 owner
    pending        INT    NOT NULL DEFAULT 0,  -- 1 invited, 2 asks to join
    muted_until_ms BIGINT NOT NULL DEFAULT 0,
    joined_seq     BIGINT NOT NULL DEFAULT 0,  -- sees messages from this one
    left_seq       BIGINT NOT NULL DEFAULT 0,  -- to this one; 0: still in
    delivered_seq  BIGINT NOT NULL DEFAULT 0,
    read_seq       BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (hi, lo, user_id)
);
CREATE INDEX IF NOT EXISTS member_user ON member (user_id, hi, lo);

CREATE TABLE IF NOT EXISTS message (
    hi             BIGINT          NOT NULL,
    lo             BIGINT          NOT NULL,
    seq            BIGINT          NOT NULL,   -- 1, 2, 3 ... without gaps
    sender_id      BIGINT          NOT NULL,
    client_msg_id  BIGINT          NOT NULL,   -- chosen by the sender's device; with the sender it is unique
    sent_ms        BIGINT          NOT NULL,
    kind           INT             NOT NULL,   -- 1 text, 2 edit, 3 recall, 4 membership, 5 application
    refers_to_seq  BIGINT          NOT NULL DEFAULT 0,
    edited_seq     BIGINT          NOT NULL DEFAULT 0, -- of the edit that its text is from
    digest         BIGINT          NOT NULL,   -- of what was sent, to know a repeat from another message; 0: recalled
    content_type   VARBINARY(128)  NOT NULL,
    body           MEDIUMBLOB      NOT NULL,   -- empty once recalled; an edit keeps its text in the message that it edits
    PRIMARY KEY (hi, lo, seq),
    CONSTRAINT message_once UNIQUE (hi, lo, sender_id, client_msg_id)
);
