/* counting: one counter of one limit that rejects, as Redis and two gates keep it (lib/counters: counters.lua, memory.c, failover.c,
 * reconcile.c, mirror.c), through lost and late answers, links that are cut, restarts with and without data, and clearing.
 * README.md says what is left out, and where the code differs.
 *
 * What each assertion holds:
 *   MAX    admitted and not given back is at most MAX without a fault; with faults each gate alone admits at most MAX, and
 *          what it asked in flight
 *   ONCE   what a gate admitted alone is added to Redis at most once, and Redis counts no message twice
 *   HARD   nobody is refused for good while what was taken and what is asked fit
 *   CLEAR  what was cleared does not come back
 *   KNOWN  a gate asks Redis only once that knows all that the gate admitted alone; at rest it knows all
 *
 * BREAK=n breaks one line of the model (test/model/promela/run mutations): some assertion must fail then. */
#ifndef MAX
#define MAX 1
#endif
#ifndef FIRST
#define FIRST 2 /* messages of gate 0 */
#endif
#ifndef SECOND
#define SECOND 1 /* and of gate 1 */
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef BREAK
#define BREAK 0
#endif
#define MESSAGES (FIRST + SECOND)
#define GATES 2
#define ANY 255

mtype = { nothing, admitted, soft, hard };            /* answers */
mtype = { by_redis, alone, unsure };                  /* receipts */

/* ---- Redis ---- */

byte r_count, r_open, r_born; /* r_born 0: there is no counter */
byte r_last;                  /* the last r_born that was given */
byte r_life;                   /* its run_id */
byte r_turn[GATES];           /* the last sync of each gate */

/* ---- the gates ---- */

typedef gate_t {
    bool link;     /* does it reach Redis? */
    byte life;      /* the run_id that local stands by (memory.generation) */
    bool closed;   /* Redis is not asked */
    bool dirty;    /* something is unsynced */
    bool opening;  /* the last walk */
    byte fallbacks;
    /* its counter in local */
    bool there;
    byte count, open, unsynced, born, field_life;
};
gate_t gate[GATES];

typedef late_t { /* a sync that Redis has not read yet */
    bool there;
    byte turn, amount, open, born;
};
late_t late_sync[GATES];
bool late_ask[MESSAGES];

/* ---- what really is ---- */

byte faults = FAULTS;
bool restarted, cleared;
byte taken;             /* messages that reached their end */
byte live[GATES];       /* admitted and not given back */
byte asking[GATES];     /* questions in flight: begun, and not yet recorded */
byte strays[GATES];     /* how many there were at most when the gate admitted something alone */
byte in_doubt[GATES];   /* admitted alone after a lost question: it counts as made, and may not be */
bool syncing[GATES];    /* what is missing was looked at, and is not added yet */
byte back[GATES];       /* refunds that Redis is yet to be told of */
byte crossed;           /* of these, those that come while the gate syncs, or that it syncs beside: one is taken from another's charge, or
                           added all the same, as open */
byte told[GATES];       /* live ones that the gate admitted alone, and in time */
byte untold[GATES];     /* admitted alone, and never added to Redis */
byte fresh;             /* charges since the last clearing */
byte clear_born;        /* r_last then */
bool seen[GATES];       /* the gate has recorded an answer of a counter that was made since */
bool may[MESSAGES];     /* Redis may count it */
byte made_in[MESSAGES]; /* r_born of the counter in which it is counted */

#define counts(m) (made_in[m] != 0 && made_in[m] == r_born -> 1 : 0)
#if MESSAGES == 2
#define MAY (may[0] + may[1])
#define HERE (counts(0) + counts(1))
#elif MESSAGES == 3
#define MAY (may[0] + may[1] + may[2])
#define HERE (counts(0) + counts(1) + counts(2))
#else
#define MAY (may[0] + may[1] + may[2] + may[3])
#define HERE (counts(0) + counts(1) + counts(2) + counts(3))
#endif

/* Holds after every step of Redis. */
inline check_redis()
{
    assert(cleared && restarted || r_count <= MAY + crossed); /* ONCE */
    assert(cleared || r_count + crossed >= HERE) /* KNOWN */
}

inline redis_make()
{
    if
    :: r_born == 0 -> r_last++; r_born = r_last; r_count = 0; r_open = 0
    :: else
    fi
}

inline redis_reserve(m, answer)
{
    redis_make();
    if
    :: r_count + 1 <= MAX ->
#if BREAK != 1
        r_open++;
#endif
        r_count++; may[m] = true; made_in[m] = r_born; fresh = fresh + cleared; answer = admitted
#if BREAK == 2
    :: else -> answer = hard
#else
    :: r_count + 1 > MAX && r_count - r_open + 1 > MAX -> answer = hard
    :: else -> answer = soft
#endif
    fi;
    check_redis()
}

/* A refund (1) or a settle (0), by the receipt's born. */
inline redis_change(g, m, receipt_born, less, less_open)
{
    if
    :: r_born != 0 &&
#if BREAK != 3
       (receipt_born == r_born || receipt_born == ANY) &&
#endif
       true ->
        if
        :: less > 0 ->
            if
            :: r_count > 0 -> r_count--; may[m] = false; crossed = crossed + syncing[g]
            :: else
            fi;
            made_in[m] = 0
        :: else
        fi;
        r_open = (r_open > less_open -> r_open - less_open : 0);
        r_open = (r_open > r_count -> r_count : r_open)
    :: else
    fi;
    check_redis()
}

inline redis_sync(g, number, more, more_open, looked_at)
{
    if
#if BREAK == 4
    :: true ->
#else
    :: number > r_turn[g] ->
#endif
        r_turn[g] = number;
        if
        :: r_born != 0 &&
#if BREAK != 12
           looked_at == r_born &&
#endif
           true ->
            assert(restarted || more <= untold[g]); /* ONCE, CLEAR */
            assert(!seen[g] || !cleared || more <= fresh); /* CLEAR */
            untold[g] = (untold[g] > more -> untold[g] - more : 0);
            r_count = r_count + more;
            r_open = r_open + more_open;
            r_open = (r_open > r_count -> r_count : r_open)
        :: else
        fi
    :: else
    fi;
    check_redis()
}

/* ---- local ---- */

inline local_make(g)
{
    if
    :: !gate[g].there -> gate[g].there = true; gate[g].field_life = gate[g].life
    :: else
    fi
}

inline local_trim(g, most)
{
    if
    :: gate[g].count > most -> gate[g].count = most
    :: else
    fi;
    gate[g].open = (gate[g].open > gate[g].count -> gate[g].count : gate[g].open)
}

/* COUNTERS_RECORD */
inline local_record(g, answer, used, made)
{
    local_make(g);
    if
    :: gate[g].born != made ->
        if
#if BREAK != 5
        :: gate[g].born > 0 -> local_trim(g, used)
#endif
        :: else
        fi;
        gate[g].born = made
    :: else
    fi;
#if BREAK != 6
    if
    :: answer == admitted -> gate[g].count++; gate[g].open++
    :: else
    fi;
#endif
    seen[g] = seen[g] || cleared && made > clear_born
}

inline local_reserve(g, answer)
{
    local_make(g);
    if
    :: gate[g].count + 1 <= MAX ->
        gate[g].count++; gate[g].open++; fresh = fresh + cleared; answer = admitted;
        strays[g] = (strays[g] > asking[g] -> strays[g] : asking[g])
    :: gate[g].count + 1 > MAX && gate[g].count - gate[g].open + 1 > MAX -> answer = hard
    :: else -> answer = soft
    fi
}

inline local_change(g, less, less_open)
{
    gate[g].count = (gate[g].count > less -> gate[g].count - less : 0);
    gate[g].open = (gate[g].open > less_open -> gate[g].open - less_open : 0);
    gate[g].open = (gate[g].open > gate[g].count -> gate[g].count : gate[g].open)
}

/* ---- a message with one recipient ---- */

inline answered(g, answer)
{
    assert(answer != hard || taken + 1 > MAX); /* HARD */
    if
    :: answer == admitted ->
        live[g]++;
        assert(faults < FAULTS || live[0] + live[1] <= MAX);        /* MAX */
        assert(cleared || live[g] <= MAX + strays[g] + in_doubt[g] + crossed) /* MAX */
    :: else
    fi
}

/* What is over leaves no state behind. */
inline finish()
{
    born = 0; used = 0; answer = nothing; receipt = by_redis; in_time = true
}

inline end_or_finish()
{
    if
    :: answer == admitted -> goto ending
    :: else -> finish(); goto done
    fi
}

proctype message(byte g; byte m)
{
    mtype answer = nothing;
    mtype receipt = by_redis;
    byte born, used;
    bool in_time = true;

ask:
    atomic { /* failover_state_current() */
        if
        :: gate[g].closed -> goto away
        :: !gate[g].closed && !gate[g].link -> gate[g].closed = true; goto away /* it says so at once */
        :: !gate[g].closed && gate[g].link && gate[g].life != r_life -> gate[g].closed = true; goto away
        :: else -> asking[g]++
        fi
    }
    atomic { /* the question, its answer, or none */
        if
        :: !gate[g].link || gate[g].life != r_life -> gate[g].closed = true; asking[g]--; goto away
        :: gate[g].link && gate[g].life == r_life ->
            assert(cleared || gate[g].closed || gate[g].life != r_life || r_count + crossed >= told[g]); /* KNOWN */
            used = r_count;
            redis_reserve(m, answer);
            born = r_born
        :: gate[g].link && gate[g].life == r_life && faults > 0 -> faults--; /* lost, or late: perhaps only its answer is */
            late_ask[m] = true;
            may[m] = true;
            gate[g].closed = true;
            asking[g]--;
            goto lost
        fi
    }
    atomic {
        local_record(g, answer, used, born);
        asking[g]--;
        answered(g, answer);
        end_or_finish()
    }

lost: /* it counts as made */
    atomic {
        local_reserve(g, answer);
        if
        :: answer == admitted ->
            in_doubt[g]++;
#if BREAK == 7
            gate[g].unsynced++; gate[g].dirty = true; untold[g]++;
#endif
            may[m] = true
        :: else
        fi;
        receipt = unsure;
        answered(g, answer);
        end_or_finish()
    }

away: /* fallback_begin() */
    atomic {
        if
        :: !gate[g].opening
        :: gate[g].opening && faults > 0 -> faults--; in_time = false /* it has waited long enough */
        fi;
        if
        :: !gate[g].closed -> in_time = true; goto ask
        :: else -> gate[g].fallbacks++
        fi
    }
    atomic {
        local_reserve(g, answer);
        if
        :: answer == admitted ->
            gate[g].unsynced++;
            untold[g]++;
            told[g] = told[g] + in_time;
            strays[g] = strays[g] + (in_time -> 0 : 1);
            may[m] = true;
            gate[g].dirty = true
        :: else
        fi;
        receipt = alone;
        answered(g, answer);
        gate[g].fallbacks--;
        end_or_finish()
    }

ending:
    if
    :: atomic { /* its end: nothing of it is left to tell but that it is taken */
           taken++;
           if
           :: receipt != by_redis || gate[g].born == born -> local_change(g, 0, 1)
           :: else
           fi;
           if
           :: receipt != by_redis -> finish(); goto done
           :: else -> used = 0
           fi
       }
    :: atomic { /* given back */
           live[g]--;
           crossed = crossed + syncing[g];
           if
           :: receipt == alone -> told[g] = told[g] - in_time
           :: receipt == unsure -> in_doubt[g]--
           :: else
           fi;
           if
           :: receipt != by_redis || gate[g].born == born -> local_change(g, 1, 1)
           :: else
           fi;
           if
           :: receipt == unsure -> finish(); goto done
           :: receipt == alone && gate[g].unsynced > 0 -> /* sync_rest() */
               gate[g].unsynced--;
               untold[g]--;
               may[m] = false;
               finish();
               goto done
           :: receipt == alone && gate[g].unsynced == 0 -> born = (gate[g].born > 0 -> gate[g].born : ANY)
           :: else
           fi;
           used = 1;
           back[g]++
       }
    fi;
    atomic { /* the refunds' thread */
        gate[g].link ->
        if
        :: redis_change(g, m, born, used, (receipt == by_redis -> 1 : 0))
        :: faults > 0 -> faults--; made_in[m] = 0 /* lost: it stays as it is until its slot leaves */
        fi;
        back[g] = back[g] - used;
        finish()
    }
done:
    skip
}

/* ---- the thread that tells Redis ---- */

inline sync_back(g)
{
    gate[g].unsynced = gate[g].unsynced + unsynced;
    gate[g].field_life = field_life
}

inline sync_none()
{
    has = false; syncing[g] = false; turn = 0; missing = 0; unsynced = 0; opened = 0; count = 0; born = 0; field_life = 0; is_lost = false; in_doubt_here = false
}

proctype reconcile(byte g)
{
    byte turn, turns, missing, unsynced, opened, count, born, field_life, n;
    bool has, is_lost, in_doubt_here, doubt, last;
    byte passes;

end:
    do
    :: atomic {
           gate[g].link && (gate[g].closed || gate[g].dirty || gate[g].life != r_life) ->
           if
           :: gate[g].life != r_life ->
               gate[g].closed = true;
               if
               :: has && !in_doubt_here -> sync_back(g); sync_none(); doubt = false
               :: else
               fi
           :: else
           fi;
           gate[g].life = r_life;
           gate[g].dirty = false
       }
collect:
       atomic { /* delta_take(), and sync_look() */
           if
           :: has
           :: !has && gate[g].there && gate[g].unsynced == 0 && gate[g].field_life != gate[g].life && gate[g].count == 0 ->
               gate[g].field_life = gate[g].life; goto walked
           :: !has && gate[g].there && (gate[g].unsynced > 0 || gate[g].field_life != gate[g].life) ->
               has = true;
               syncing[g] = true;
               count = gate[g].count;
               opened = gate[g].open;
               born = gate[g].born;
               field_life = gate[g].field_life;
#if BREAK == 8
               is_lost = true;
#else
               is_lost = field_life != gate[g].life;
#endif
               unsynced = (gate[g].unsynced < count -> gate[g].unsynced : count);
               gate[g].unsynced = 0;
               gate[g].field_life = gate[g].life
           :: else -> goto walked
           fi;
           if
           :: turn > 0
           :: turn == 0 && !gate[g].link -> goto failed
           :: turn == 0 && gate[g].link ->
               redis_make();
               missing = unsynced;
               n = (born == 0 || born == r_born -> r_count : 0);
               if
               :: is_lost && count > n && count - n > missing -> missing = count - n
               :: else
               fi;
               n = 0;
               born = r_born;
               turns++;
               crossed = crossed + (is_lost -> back[g] : 0);
               turn = turns
           :: turn == 0 && gate[g].link && faults > 0 -> faults--; redis_make(); doubt = true; goto failed
           fi
       }
       atomic { /* sync_add() */
#if BREAK == 9
           opened = 0;
#else
           opened = (opened < missing -> opened : missing);
#endif
           if
           :: missing == 0
           :: missing > 0 && !gate[g].link -> goto failed
           :: missing > 0 && gate[g].link -> redis_sync(g, turn, missing, opened, born)
           :: missing > 0 && gate[g].link && faults > 0 -> faults--; /* the same */
               late_sync[g].there = true;
               late_sync[g].turn = turn;
               late_sync[g].amount = missing;
               late_sync[g].open = opened;
               late_sync[g].born = born;
               in_doubt_here = true;
               goto failed
           fi
       }
       atomic {
           gate[g].born = born;
           sync_none();
           doubt = false;
           goto collect
       }
failed:
       atomic {
           if
           :: has && !in_doubt_here && !doubt -> sync_back(g); sync_none()
           :: else
           fi;
           gate[g].dirty = true;
           if
           :: last -> last = false; gate[g].opening = false
           :: else
           fi;
           passes = 0;
           goto again
       }
walked:
       atomic {
           if
           :: last -> last = false; gate[g].closed = false; gate[g].opening = false; passes = 0; goto again
           :: !last && gate[g].dirty && passes < 2 -> passes++; gate[g].dirty = false; goto collect
           :: !last && !(gate[g].dirty && passes < 2) ->
               passes = 0;
               if
               :: !gate[g].closed -> goto again
#if BREAK == 10
               :: gate[g].closed -> gate[g].closed = false; goto again
#else
               :: gate[g].closed -> gate[g].opening = true; last = true
#endif
               fi
           fi
       }
       atomic {
#if BREAK != 11
           gate[g].fallbacks == 0 ->
#endif
           gate[g].dirty = false;
           goto collect
       }
again:
       skip
    od
}

/* ---- what may happen ---- */

inline clear()
{
    faults--;
    r_born = 0;
    r_count = 0;
    r_open = 0;
    cleared = true;
    clear_born = r_last;
    fresh = untold[0] + untold[1];
    seen[0] = false;
    seen[1] = false
}

inline restart()
{
    faults--;
    r_life++;
    restarted = true;
    late_sync[0].there = false;
    late_sync[1].there = false;
    late_ask[0] = false;
    late_ask[1] = false;
#if MESSAGES > 2
    late_ask[2] = false;
#endif
#if MESSAGES > 3
    late_ask[3] = false;
#endif
    skip
}

proctype world()
{
    byte g, m;
    mtype answer = nothing;

    do
    :: atomic { faults > 0 -> faults--; if :: g = 0 :: g = 1 fi; gate[g].link = false; g = 0 }
    :: atomic { !gate[0].link -> gate[0].link = true }
    :: atomic { !gate[1].link -> gate[1].link = true }
    :: d_step { faults > 0 && asking[0] + asking[1] == 0 -> restart() }
    :: d_step { faults > 0 && asking[0] + asking[1] == 0 -> restart(); r_born = 0; r_count = 0; r_open = 0; r_turn[0] = 0; r_turn[1] = 0 }
    :: d_step { faults > 0 -> clear() }
    :: d_step { faults > 0 -> clear(); r_turn[0] = 0; r_turn[1] = 0 } /* FLUSHALL */
    :: atomic { /* what was late is read after all, or never */
           late_sync[0].there || late_sync[1].there ->
           if
           :: late_sync[0].there -> g = 0
           :: late_sync[1].there -> g = 1
           fi;
           if
           :: redis_sync(g, late_sync[g].turn, late_sync[g].amount, late_sync[g].open, late_sync[g].born)
           :: true
           fi;
           late_sync[g].there = false; late_sync[g].turn = 0; late_sync[g].amount = 0; late_sync[g].open = 0; late_sync[g].born = 0;
           g = 0
       }
    :: atomic {
           if
           :: late_ask[0] -> m = 0
           :: late_ask[1] -> m = 1
#if MESSAGES > 2
           :: late_ask[2] -> m = 2
#endif
#if MESSAGES > 3
           :: late_ask[3] -> m = 3
#endif
           fi;
           if
           :: redis_reserve(m, answer); answer = nothing
           :: true
           fi;
           late_ask[m] = false;
           m = 0
       }
    :: atomic { timeout -> break }
    od;
    /* at rest */
    assert(gate[0].link && gate[1].link);
    assert(!gate[0].closed && !gate[1].closed && !gate[0].dirty && !gate[1].dirty);
    assert(gate[0].unsynced == 0 && gate[1].unsynced == 0);
    assert(cleared || r_count + crossed + in_doubt[0] + in_doubt[1] >= live[0] + live[1]) /* KNOWN */
}

init
{
    byte i;
    atomic {
        gate[0].link = true;
        gate[1].link = true;
        run world();
        run reconcile(0);
        run reconcile(1);
        do
        :: i < MESSAGES -> run message((i < FIRST -> 0 : 1), i); i++
        :: else -> break
        od;
        i = 0
    }
}
