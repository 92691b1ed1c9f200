/*-------------------------------------------------------------------------
 *
 * async.c
 *		Foreign scans below an Append that run at the same time.
 *
 * All scans of one sidecar share one socket, and whoever reads it may take in
 * what another scan waits for. Hence two rules. A socket is registered by one
 * scan only, the first of an Append that waits for it (a descriptor cannot be
 * in a wait set twice). And before anyone waits, every waiting scan of the
 * Append is served from what has been read: bytes that are here already wake
 * nobody.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/execAsync.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/rel.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hallway.h"

/*
 * When whoever waits now has waited too long for any sign of a sidecar; 0: never.
 * PostgreSQL's wait has no bound, so a timer ends it for this to be looked at.
 */
static TimestampTz give_up_at = 0;
static TimeoutId give_up_timer = MAX_TIMEOUTS;

static void produce(AsyncRequest *areq);
static void end_wait_at_once(void);
static void bound_wait(ForeignScanState *node);
static void on_give_up_timer(void);
static void serve_waiting(AppendState *append, AsyncRequest *except, bool read);
static AsyncRequest *next_waiting(AppendState *append, int *index);


bool
hallwayIsForeignPathAsyncCapable(ForeignPath *path)
{
	return hallway_path_async(path);
}

void
hallwayForeignAsyncRequest(AsyncRequest *areq)
{
	produce(areq);
	if (!areq->request_complete)
		give_up_at = hallway_wait_deadline();
}

void
hallwayForeignAsyncConfigureWait(AsyncRequest *areq)
{
	AppendState *append = (AppendState *) areq->requestor;
	pgsocket	socket;
	AsyncRequest *other;
	int			index = -1;

	/* A sibling was served meanwhile: there is nothing to wait for. */
	if (!bms_is_empty(append->as_needrequest))
	{
		end_wait_at_once();
		return;
	}

	/*
	 * The first one that waits reads for all. Those after it find either rows
	 * in as_needrequest, or that nothing more has come; they must not read, for
	 * they would take in what the first one is about to wait for.
	 */
	if (next_waiting(append, &index) == areq)
	{
		serve_waiting(append, NULL, true);
		if (!bms_is_empty(append->as_needrequest))
		{
			end_wait_at_once();
			return;
		}
		if (!areq->callback_pending)
			return;
	}

	socket = hallway_scan_socket((ForeignScanState *) areq->requestee);
	index = -1;
	while ((other = next_waiting(append, &index)) != NULL && other != areq)
	{
		if (hallway_scan_socket((ForeignScanState *) other->requestee) == socket)
			return;
	}
	if (append->as_syncdone)
		bound_wait((ForeignScanState *) areq->requestee);

	/*
	 * While a request has not gone out whole, room to send it ends the wait too:
	 * PostgreSQL calls nobody for that, but comes back here, where it is sent on.
	 */
	AddWaitEventToSet(append->as_eventset,
					  WL_SOCKET_READABLE |
					  (hallway_scan_unsent((ForeignScanState *) areq->requestee) ? WL_SOCKET_WRITEABLE : 0),
					  socket, NULL, areq);
}

void
hallwayForeignAsyncNotify(AsyncRequest *areq)
{
	give_up_at = hallway_wait_deadline();
	produce(areq);

	/* What was read may have been for others, who would starve behind us. */
	serve_waiting((AppendState *) areq->requestor, areq, false);
}

/*
 * There are rows, but another wrapper's children may have registered sockets, or
 * may yet: none of that is to be waited for.
 */
static void
end_wait_at_once(void)
{
	SetLatch(MyLatch);
}

/* ERROR if nothing has come for too long, else makes sure to be asked again. */
static void
bound_wait(ForeignScanState *node)
{
	if (give_up_at == 0)
		return;
	if (GetCurrentTimestamp() >= give_up_at)
		hallway_throw(hallway_wait_error(false), node->ss.ss_currentRelation);

	if (give_up_timer == MAX_TIMEOUTS)
		give_up_timer = RegisterTimeout(USER_TIMEOUT, on_give_up_timer);
	if (!get_timeout_active(give_up_timer))
		enable_timeout_at(give_up_timer, give_up_at);
}

/* The alarm sets the latch by itself, which is all that is wanted. */
static void
on_give_up_timer(void)
{
}

/* Gives the next row, the end, or the promise to call back. */
static void
produce(AsyncRequest *areq)
{
	ForeignScanState *node = castNode(ForeignScanState, areq->requestee);
	TupleTableSlot *slot;

	hallway_scan_start(node);
	hallway_scan_nonblocking(node, true);
	slot = node->ss.ps.ExecProcNodeReal(&node->ss.ps);
	hallway_scan_nonblocking(node, false);

	if (!TupIsNull(slot))
		ExecAsyncRequestDone(areq, slot);
	else if (hallway_scan_starved(node))
		ExecAsyncRequestPending(areq);
	else
		ExecAsyncRequestDone(areq, NULL);
}

/*
 * Completes those waiting requests of an Append, but one, for which there is
 * something: with read, looking for more first, else among what has been read
 * already. When it returns, nobody is left waiting for bytes that are here,
 * unless others have rows now, which end the waiting anyhow.
 */
static void
serve_waiting(AppendState *append, AsyncRequest *except, bool read)
{
	bool		again;

	do
	{
		AsyncRequest *areq;
		int			index = -1;

		again = false;
		while ((areq = next_waiting(append, &index)) != NULL)
		{
			if (areq == except)
				continue;
			if (!read && !hallway_scan_ready((ForeignScanState *) areq->requestee))
				continue;

			/* This may read the socket, and take in what others wait for. */
			areq->callback_pending = false;
			produce(areq);
			again = true;
			if (!areq->request_complete)
				continue;

			/* The executor does this around Notify, but not here. */
			ExecAsyncResponse(areq);
			if (areq->requestee->instrument != NULL)
				InstrUpdateTupleCount(areq->requestee->instrument,
									  TupIsNull(areq->result) ? 0.0 : 1.0);
		}
		read = false;
	} while (again && bms_is_empty(append->as_needrequest));
}

/*
 * The next of our scans in an Append that waits for a callback; *index starts
 * at -1. NULL: no more.
 */
static AsyncRequest *
next_waiting(AppendState *append, int *index)
{
	while ((*index = bms_next_member(append->as_asyncplans, *index)) >= 0)
	{
		AsyncRequest *areq = append->as_asyncrequests[*index];

		if (areq->callback_pending &&
			IsA(areq->requestee, ForeignScanState) &&
			((ForeignScanState *) areq->requestee)->fdwroutine->ForeignAsyncNotify ==
			hallwayForeignAsyncNotify)
			return areq;
	}
	return NULL;
}
