/*-------------------------------------------------------------------------
 *
 * handshake.c
 *		What the backend says of itself on each new connection, and whether the
 *		sidecar's answer will do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/guc.h"

#include "compat.h"
#include "wire.h"

static char *safe_text(const char *text);

void
hallway_handshake_request(Hallway__V1__HandshakeRequest *request)
{
	Hallway__V1__ProtocolVersion *protocol = palloc(sizeof(Hallway__V1__ProtocolVersion));
	char	   *directories = safe_text(GetConfigOption("unix_socket_directories", false, false));
	TimeLineID	timeline = 0;

	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&timeline);
	else
		timeline = GetWALInsertionTimeLine();
	if (strpbrk(directories, ", ") != NULL)
		*strpbrk(directories, ", ") = '\0';

	hallway__v1__protocol_version__init(protocol);
	protocol->major = HALLWAY_PROTOCOL_MAJOR;
	protocol->minor = HALLWAY_PROTOCOL_MINOR;

	hallway__v1__handshake_request__init(request);
	request->protocol = protocol;
	request->shim_version = pstrdup(HALLWAY_VERSION);
	request->server_version_num = PG_VERSION_NUM;
	request->backend_pid = MyProcPid;
	request->system_identifier = GetSystemIdentifier();
	request->timeline = timeline;
	request->database_oid = MyDatabaseId;
	request->database_name = safe_text(get_database_name(MyDatabaseId));
	request->socket_directory = directories;
	request->port = PostPortNumber;
	request->application_name = safe_text(application_name);
}

/* ERROR, saying which side to upgrade, if the two cannot talk. */
void
hallway_handshake_check(const Hallway__V1__HandshakeResponse *response)
{
	uint32		major = response->protocol ? response->protocol->major : 0;

	if (major == HALLWAY_PROTOCOL_MAJOR)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION),
			 errmsg("the Hallway extension and the sidecar speak different protocol versions"),
			 errdetail("The extension %s speaks version %d, the sidecar %s version %u.",
					   HALLWAY_VERSION, HALLWAY_PROTOCOL_MAJOR,
					   response->sidecar_version, major),
			 major < HALLWAY_PROTOCOL_MAJOR
			 ? errhint("Upgrade the sidecar and restart it.")
			 : errhint("Upgrade the extension: install its newer version, then ALTER EXTENSION hallway UPDATE, and reconnect.")));
}

/*
 * For logs: a copy in UTF-8. Names in shared catalogs may be in any encoding, and
 * what is not valid in this database's must not keep it from connecting.
 */
static char *
safe_text(const char *text)
{
	char	   *copy = pstrdup(text ? text : "");

	if (GetDatabaseEncoding() != PG_SQL_ASCII &&
		pg_verify_mbstr(GetDatabaseEncoding(), copy, strlen(copy), true))
		return hallway_to_utf8(copy);
	for (char *p = copy; *p; p++)
		if (IS_HIGHBIT_SET(*p))
			*p = '?';
	return copy;
}
