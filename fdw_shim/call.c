/*-------------------------------------------------------------------------
 *
 * call.c
 *		Unary calls of a sidecar: their answers, their one retry, and how long
 *		they are waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "wire.h"

/* How much later than the sidecar we give up, so that its words are heard. */
#define DEADLINE_GRACE_MS	50
#define MAX_WAIT_GRACE_MS	500

static bool call_try(HallwayChannel *channel, const char *method,
					 const ProtobufCMessage *request,
					 const ProtobufCMessageDescriptor *answer, bool is_write,
					 bool may_retry, ProtobufCMessage **result,
					 Hallway__V1__Error **error);


ProtobufCMessage *
hallway_call(HallwayChannel *channel, const char *method,
			 const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer,
			 bool is_write, Hallway__V1__Error **error)
{
	ProtobufCMessage *result;

	if (!call_try(channel, method, request, answer, is_write, true, &result, error))
		(void) call_try(channel, method, request, answer, is_write, false, &result, error);
	return result;
}

/* False if the call may be tried once more: nothing can have come of it. */
static bool
call_try(HallwayChannel *channel, const char *method, const ProtobufCMessage *request,
		 const ProtobufCMessageDescriptor *answer, bool is_write, bool may_retry,
		 ProtobufCMessage **result, Hallway__V1__Error **error)
{
	WireSession *session = hallway_channel_session(channel);
	int64		timeout = hallway_statement_remaining();
	WireStream *stream;
	uint8	   *body;
	size_t		len;
	volatile bool retry = false;

	*result = NULL;
	*error = NULL;
	if (timeout == 0)
		timeout = hallway_max_wait;
	body = wire_frame_message(session->cxt, request, &len);
	stream = body == NULL ? NULL :
		wire_stream_open(session, method, timeout, body, len, false);
	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while sending to the Hallway sidecar")));

	PG_TRY();
	{
		if (!hallway_call_wait(stream, hallway_wait_deadline()))
			*error = hallway_wait_error(is_write);
		else if (may_retry && wire_stream_retryable(stream, is_write))
			retry = true;
		else
			*result = hallway_call_answer(stream, is_write, answer, error);
	}
	PG_FINALLY();
	{
		wire_stream_free(stream);
		hallway_channel_release(session);
	}
	PG_END_TRY();
	return !retry;
}

/* Sends and receives until the stream has ended; false: the deadline came. */
bool
hallway_call_wait(WireStream *stream, TimestampTz deadline)
{
	WireSession *session = stream->session;

	for (;;)
	{
		(void) wire_write(session);
		if (stream->closed || stream->fault != WIRE_FAULT_NONE)
			return true;
		if (wire_read(session))
		{
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		if (session->broken)
			return true;
		if (!hallway_channel_wait(session, deadline))
			return false;
	}
}

/* The one message of an ended unary call, or its error. */
ProtobufCMessage *
hallway_call_answer(WireStream *stream, bool is_write, const ProtobufCMessageDescriptor *answer,
					Hallway__V1__Error **error)
{
	WireMessage *message;
	ProtobufCMessage *result = NULL;

	if (!wire_stream_succeeded(stream))
	{
		*error = wire_stream_error(stream, is_write);
		return NULL;
	}
	message = wire_stream_take(stream);
	if (message != NULL)
	{
		result = hallway_unpack(answer, message->data, message->size);
		wire_stream_release(stream, message);
	}
	if (result == NULL)
	{
		const char *detail = psprintf("The answer is not a message of type %s.", answer->name);

		*error = is_write ? wire_unknown_outcome(detail) :
			wire_error("08P01", "could not understand the Hallway sidecar's answer", detail, NULL);
	}
	return result;
}

/* Milliseconds that statement_timeout leaves, with some grace; 0: not set. */
int64
hallway_statement_remaining(void)
{
	long		left;

	if (!get_timeout_active(STATEMENT_TIMEOUT))
		return 0;
	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   get_timeout_finish_time(STATEMENT_TIMEOUT));
	return Max(left, 1) + DEADLINE_GRACE_MS;
}

/* When it began: no two statements of a session do at the same moment. */
uint64
hallway_statement_number(void)
{
	return (uint64) GetCurrentStatementStartTimestamp();
}

/*
 * Until when to wait for an answer: statement_timeout interrupts by itself, and
 * where it does not run (unset, or in COMMIT) hallway.max_wait bounds the wait.
 */
TimestampTz
hallway_wait_deadline(void)
{
	if (hallway_max_wait <= 0 || get_timeout_active(STATEMENT_TIMEOUT))
		return 0;
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									   (int64) hallway_max_wait + MAX_WAIT_GRACE_MS);
}

/* Its answer did not come in time. */
Hallway__V1__Error *
hallway_wait_error(bool is_write)
{
	char	   *detail = psprintf("There was no answer within hallway.max_wait, %d ms.",
								  hallway_max_wait);

	if (is_write)
		return wire_unknown_outcome(detail);
	return wire_error("57014", "the Hallway sidecar did not answer", detail,
					  "Raise hallway.max_wait or set statement_timeout if the API is that slow; "
					  "if the sidecar hangs, restart it with \"systemctl restart hallway\".");
}
