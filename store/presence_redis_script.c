/*
 * store/presence_redis_script.c: what runs inside Redis, where each script is one step that nothing comes between.
 *
 * KEYS[1] is the head, ARGV[1] the run id of the server that the caller believes to talk to; the keys below are listed in
 * presence_redis.h. Every script answers an array whose first element is a word:
 *   lost   there is no generation, or another server made it (then followed by what stands: generation, run)
 *   gone   the node has no place in the generation, or a newer connection of it has
 */
#include "store/presence_redis.h"

/* The state of affairs; position stays text, so that it is handed on unchanged. */
#define LUA_HEAD \
    "local head = redis.call('HMGET', KEYS[1], 'generation', 'run', 'position')\n" \
    "local gen, pos = head[1], head[3]\n" \
    "if not gen or not pos or head[2] ~= ARGV[1] then return {'lost', gen or '', head[2] or ''} end\n" \
    "local base = KEYS[1] .. ':' .. gen\n"

/* Epochs are 64 bits wide, too wide for Lua's numbers: compared as decimal text. */
#define LUA_OLDER \
    "local function is_older(a, b)\n" \
    "  if #a ~= #b then return #a < #b end\n" \
    "  return a < b\n" \
    "end\n" \
    "local function parts(node) return string.match(node, '^(.*)/(%d+)$') end\n"

/* Changes become part of the log. */
#define LUA_LOG \
    "local function write(log, keep)\n" \
    "  if #log == 0 then return end\n" \
    "  redis.call('RPUSH', base .. ':log', unpack(log))\n" \
    "  redis.call('LTRIM', base .. ':log', -tonumber(keep), -1)\n" \
    "  pos = tostring(redis.call('HINCRBY', KEYS[1], 'position', #log))\n" \
    "end\n"

const char *const redis_scripts[REDIS_NSCRIPTS] = {
    /*
     * The check of every second, and how a node takes its place: run, node, address, epoch, connection, ms to live.
     * -> new | kept | replaced, generation, position, traces of the node. "replaced": a newer epoch of it is there, and alive:
     * one that is not was before us, by a clock that was ahead.
     */
    [REDIS_TICK] = LUA_HEAD LUA_OLDER
        "local node, connection = ARGV[2], tonumber(ARGV[5])\n"
        "local was = redis.call('HGET', base .. ':nodes', node)\n"
        "if not was then\n"
        "  for _, other in ipairs(redis.call('HKEYS', base .. ':nodes')) do\n"
        "    local address, epoch = parts(other)\n"
        "    if address == ARGV[3] and is_older(ARGV[4], epoch) and redis.call('EXISTS', base .. ':alive:' .. other) == 1 then\n"
        "      return {'replaced', gen, pos, '0'}\n"
        "    end\n"
        "  end\n"
        "end\n"
        "if was and tonumber(was) > connection then return {'gone', gen, pos, '0'} end\n"
        "if was ~= ARGV[5] then redis.call('HSET', base .. ':nodes', node, ARGV[5]) end\n"
        "redis.call('SET', base .. ':alive:' .. node, '1', 'PX', ARGV[6])\n"
        "return {was and 'kept' or 'new', gen, pos, tostring(redis.call('SCARD', base .. ':users:' .. node))}\n",

    /*
     * A new generation, if what stands is still what the caller saw: run, seen generation, seen run, new generation.
     * -> made | late
     */
    [REDIS_RENEW] =
        "local head = redis.call('HMGET', KEYS[1], 'generation', 'run')\n"
        "if (head[1] or '') ~= ARGV[2] or (head[2] or '') ~= ARGV[3] then return {'late'} end\n"
        "if head[1] then\n"
        "  local base = KEYS[1] .. ':' .. head[1]\n"
        "  for _, node in ipairs(redis.call('HKEYS', base .. ':nodes')) do\n"
        "    redis.call('UNLINK', base .. ':users:' .. node, base .. ':alive:' .. node)\n"
        "  end\n"
        "  redis.call('UNLINK', base .. ':nodes', base .. ':log')\n"
        "end\n"
        "redis.call('HSET', KEYS[1], 'generation', ARGV[4], 'run', ARGV[1], 'position', '0')\n"
        "return {'made'}\n",

    /* Write users of a node: run, generation, node, connection, length of the log, \"+1 -2 +3\". -> ok, generation, position */
    [REDIS_SET] = LUA_HEAD LUA_LOG
        "if gen ~= ARGV[2] then return {'lost', gen, head[2]} end\n"
        "local node, log = ARGV[3], {}\n"
        "if redis.call('HGET', base .. ':nodes', node) ~= ARGV[4] then return {'gone', gen, pos} end\n"
        "local users = base .. ':users:' .. node\n"
        "for sign, id in string.gmatch(ARGV[6], '([+-])(%d+)') do\n"
        "  if redis.call(sign == '+' and 'SADD' or 'SREM', users, id) == 1 then log[#log + 1] = sign .. id .. ' ' .. node end\n"
        "end\n"
        "write(log, ARGV[5])\n"
        "return {'ok', gen, pos}\n",

    /*
     * What is new to a reader: run, generation, position.
     * -> log, generation, position, changes by line | full, generation, position, then by node: node, its users by blank
     */
    [REDIS_READ] = LUA_HEAD
        "if gen == ARGV[2] then\n"
        "  local n = tonumber(pos) - tonumber(ARGV[3])\n"
        "  if n == 0 then return {'log', gen, pos, ''} end\n"
        "  if n > 0 and n <= redis.call('LLEN', base .. ':log') then\n"
        "    return {'log', gen, pos, table.concat(redis.call('LRANGE', base .. ':log', -n, -1), '\\n')}\n"
        "  end\n"
        "end\n"
        "local out = {'full', gen, pos}\n"
        "for _, node in ipairs(redis.call('HKEYS', base .. ':nodes')) do\n"
        "  local users = redis.call('SMEMBERS', base .. ':users:' .. node)\n"
        "  if #users > 0 then\n"
        "    out[#out + 1] = node\n"
        "    out[#out + 1] = table.concat(users, ' ')\n"
        "  end\n"
        "end\n"
        "return out\n",

    /*
     * Take traces away that nobody else will: run, generation, length of the log, how many at most, "leave" or "sweep", node,
     * its address, its epoch, its connection. "leave": the node's own. "sweep": those of its older epochs, and of nodes not
     * heard of for so long that their alive key expired. -> done | more, generation, position, how many
     */
    [REDIS_DROP] = LUA_HEAD LUA_OLDER LUA_LOG
        "if gen ~= ARGV[2] then return {'lost', gen, head[2]} end\n"
        "local left, self, log = tonumber(ARGV[4]), ARGV[6], {}\n"
        "local function is_over(node)\n"
        "  if ARGV[5] == 'leave' then return node == self and redis.call('HGET', base .. ':nodes', node) == ARGV[9] end\n"
        "  if node == self then return false end\n"
        "  local address, epoch = parts(node)\n"
        "  if address == ARGV[7] and is_older(epoch, ARGV[8]) then return true end\n"
        "  return redis.call('EXISTS', base .. ':alive:' .. node) == 0\n"
        "end\n"
        "for _, node in ipairs(redis.call('HKEYS', base .. ':nodes')) do\n"
        "  if left > 0 and is_over(node) then\n"
        "    local users = base .. ':users:' .. node\n"
        "    for _, id in ipairs(redis.call('SPOP', users, left)) do\n"
        "      log[#log + 1] = '-' .. id .. ' ' .. node\n"
        "      left = left - 1\n"
        "    end\n"
        "    if redis.call('EXISTS', users) == 0 then\n"
        "      redis.call('HDEL', base .. ':nodes', node)\n"
        "      redis.call('DEL', base .. ':alive:' .. node)\n"
        "    end\n"
        "  end\n"
        "end\n"
        "write(log, ARGV[3])\n"
        "return {left == 0 and 'more' or 'done', gen, pos, tostring(#log)}\n",
};
