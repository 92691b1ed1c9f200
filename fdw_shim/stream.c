/*-------------------------------------------------------------------------
 *
 * stream.c
 *		One Scan of the executor: a stream of messages, taken one by one.
 *
 * A stream belongs to a memory context and is cancelled when that is reset,
 * because after an error nobody calls EndForeignScan; and to the resource owner
 * that was current when it was opened, because a failed portal's memory may live
 * until the user says ROLLBACK. A cursor has an owner of its own, and so goes on
 * after a ROLLBACK to a savepoint within which it was only fetched from.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "wire.h"

struct HallwayStream
{
	dlist_node	node;
	MemoryContext cxt;
	MemoryContextCallback callback;
	HallwayChannel *channel;
	ResourceOwner owner;
	WireStream *wire;			/* NULL: ended */
	WireMessage *current;		/* handed out by the last call */
	Hallway__V1__Error *error;
	bool		ended;			/* well */
	bool		retried;
	uint8	   *resend;			/* the request for a second try, until an answer */
	size_t		resend_len;
};

/* All streams that have not ended. */
static dlist_head open_streams = DLIST_STATIC_INIT(open_streams);
static bool release_registered = false;

static void stream_start(HallwayStream *stream, const uint8 *message, size_t len);
static void stream_stop(HallwayStream *stream);
static void stream_reset(void *arg);
static void stream_owner_released(ResourceReleasePhase phase, bool isCommit,
								  bool isTopLevel, void *arg);
static bool stream_failed(HallwayStream *stream);
static int64 stream_timeout(void);

HallwayStream *
hallway_stream_open(HallwayChannel *channel, const ProtobufCMessage *request)
{
	return hallway_stream_open_resend(channel, request, request);
}

HallwayStream *
hallway_stream_open_resend(HallwayChannel *channel, const ProtobufCMessage *request,
						   const ProtobufCMessage *resend)
{
	HallwayStream *stream = palloc0(sizeof(HallwayStream));
	size_t		len = protobuf_c_message_get_packed_size(request);
	uint8	   *packed = MemoryContextAllocHuge(CurrentMemoryContext, len + 1);

	stream->cxt = CurrentMemoryContext;
	stream->channel = channel;
	stream->owner = CurrentResourceOwner;
	if (!release_registered)
		RegisterResourceReleaseCallback(stream_owner_released, NULL);
	release_registered = true;
	protobuf_c_message_pack(request, packed);
	if (resend == request)
	{
		stream->resend = packed;
		stream->resend_len = len;
	}
	else
	{
		stream->resend_len = protobuf_c_message_get_packed_size(resend);
		stream->resend = MemoryContextAllocHuge(CurrentMemoryContext, stream->resend_len + 1);
		protobuf_c_message_pack(resend, stream->resend);
	}

	stream->callback.func = stream_reset;
	stream->callback.arg = stream;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &stream->callback);
	stream_start(stream, packed, len);
	if (packed != stream->resend)
		pfree(packed);
	return stream;
}

HallwayStreamStatus
hallway_stream_next(HallwayStream *stream, bool wait, const uint8 **data, size_t *len)
{
	TimestampTz deadline = 0;

	if (stream->current != NULL)
	{
		wire_stream_release(stream->wire, stream->current);
		stream->current = NULL;
	}
	/* Others wait for the socket then, and see it readable. */
	if (!wait && stream->wire != NULL)
		stream->wire->session->dry = false;
	for (;;)
	{
		WireStream *wire = stream->wire;
		WireSession *session;

		if (stream->error != NULL)
			return HALLWAY_STREAM_ERROR;
		if (stream->ended)
			return HALLWAY_STREAM_END;
		if (wire == NULL)
		{
			stream->error = wire_error("25P02", "the scan was ended by an abort", NULL, NULL);
			return HALLWAY_STREAM_ERROR;
		}
		session = wire->session;

		/* Windows given back, acknowledgements: the peer may wait for them. */
		(void) wire_write(session);

		stream->current = wire_stream_take(wire);
		if (stream->current != NULL)
		{
			if (stream->resend != NULL)
			{
				pfree(stream->resend);
				stream->resend = NULL;
			}
			*data = stream->current->data;
			*len = stream->current->size;
			return HALLWAY_STREAM_MESSAGE;
		}
		if (wire->closed || wire->fault != WIRE_FAULT_NONE)
		{
			if (wire_stream_succeeded(wire))
			{
				stream->ended = true;
				stream_stop(stream);
			}
			else if (stream_failed(stream))
				stream_stop(stream);
			continue;
		}
		if (wire_read(session))
		{
			CHECK_FOR_INTERRUPTS();
			deadline = 0;
			continue;
		}
		if (session->broken)
			continue;
		if (!wait)
			return HALLWAY_STREAM_WAIT;
		if (deadline == 0)
			deadline = hallway_wait_deadline();
		if (!hallway_channel_wait(session, deadline))
		{
			MemoryContext old = MemoryContextSwitchTo(stream->cxt);

			stream->error = hallway_wait_error(false);
			MemoryContextSwitchTo(old);
			stream_stop(stream);
		}
	}
}

Hallway__V1__Error *
hallway_stream_error(HallwayStream *stream)
{
	return stream->error;
}

bool
hallway_stream_ready(HallwayStream *stream)
{
	WireStream *wire = stream->wire;

	return stream->error != NULL || stream->ended || wire == NULL ||
		wire->inbox.head != NULL || wire->closed ||
		wire->fault != WIRE_FAULT_NONE || wire->session->broken;
}

bool
hallway_stream_unsent(HallwayStream *stream)
{
	return stream->wire != NULL && wire_wants_write(stream->wire->session);
}

void
hallway_stream_close(HallwayStream *stream)
{
	if (stream != NULL)
		stream_stop(stream);
}

pgsocket
hallway_stream_socket(HallwayStream *stream)
{
	return stream->wire ? stream->wire->session->fd : PGINVALID_SOCKET;
}

/*
 * A resource owner ends: its transaction, subtransaction or portal has failed
 * or gone, and with it whatever was to read the streams opened under it.
 */
static void
stream_owner_released(ResourceReleasePhase phase, bool isCommit, bool isTopLevel, void *arg)
{
	dlist_mutable_iter iter;

	if (phase != RESOURCE_RELEASE_BEFORE_LOCKS)
		return;
	dlist_foreach_modify(iter, &open_streams)
	{
		HallwayStream *stream = dlist_container(HallwayStream, node, iter.cur);

		if (stream->owner == CurrentResourceOwner)
			stream_stop(stream);
	}
}

/* Sends the request on a session that takes it. */
static void
stream_start(HallwayStream *stream, const uint8 *message, size_t len)
{
	WireSession *session = hallway_channel_session(stream->channel);
	uint8	   *body = wire_alloc(session->cxt, len + 5);
	uint32		prefix = pg_hton32((uint32) len);

	if (body != NULL)
	{
		body[0] = 0;
		memcpy(body + 1, &prefix, 4);
		memcpy(body + 5, message, len);
		stream->wire = wire_stream_open(session, "Scan", stream_timeout(), body, len + 5, false);
	}
	if (stream->wire == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while sending to the Hallway sidecar")));
	dlist_push_tail(&open_streams, &stream->node);
	(void) wire_write(session);
}

/* Never throws: runs when owners are released and contexts reset. */
static void
stream_stop(HallwayStream *stream)
{
	WireStream *wire = stream->wire;
	WireSession *session;

	if (wire == NULL)
		return;
	session = wire->session;
	dlist_delete(&stream->node);
	stream->wire = NULL;
	if (stream->current != NULL)
		wire_stream_release(wire, stream->current);
	stream->current = NULL;
	wire_stream_free(wire);
	hallway_channel_release(session);
}

static void
stream_reset(void *arg)
{
	stream_stop(arg);
}

/*
 * The stream ended badly: true if that is final. It is tried once more if the
 * connection was lost, or the sidecar forgot the relation, before any message.
 */
static bool
stream_failed(HallwayStream *stream)
{
	WireStream *wire = stream->wire;
	MemoryContext old = MemoryContextSwitchTo(stream->cxt);
	Hallway__V1__Error *error = wire_stream_error(wire, false);
	bool		again;

	again = stream->resend != NULL && !stream->retried &&
		(wire_stream_retryable(wire, false) || error->unknown_handle);
	if (again)
	{
		uint8	   *resend = stream->resend;

		stream->retried = true;
		stream_stop(stream);
		stream_start(stream, resend, stream->resend_len);
	}
	else
		stream->error = error;
	MemoryContextSwitchTo(old);
	return !again;
}

/*
 * statement_timeout as the scan's deadline, milliseconds; 0: none. A portal that
 * is fetched from in several statements has a new timeout in each, so a cursor's
 * scan must not carry the first one's: interrupts cancel it as well.
 */
static int64
stream_timeout(void)
{
	if (ActivePortal == NULL || ActivePortal->name[0] != '\0')
		return 0;
	return hallway_statement_remaining();
}
