/* milter_empty: what libmilter itself costs. Agrees with the MTA on exactly what the gate agrees on (replies negotiated away), asks for the
 * same macros, and answers "go on" to everything.
 *
 *   milter_empty SOCKET-SPECIFICATION    e.g. unix:/tmp/empty.sock; ends on SIGTERM */
#include <libmilter/mfapi.h>
#include <stdio.h>

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
                             unsigned long f3, unsigned long *pf0, unsigned long *pf1, unsigned long *pf2,
                             unsigned long *pf3)
{
    static char mail[] = "i {auth_authen} {mail_addr}", rcpt[] = "i {rcpt_addr}", eom[] = "i";
    (void)f2, (void)f3;
    *pf0 = f0 & (SMFIF_DELRCPT | SMFIF_SETSYMLIST);
    *pf1 = f1 & (SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY |
                 SMFIP_NR_CONN | SMFIP_NR_HELO | SMFIP_NR_MAIL | SMFIP_NR_HDR | SMFIP_NR_EOH | SMFIP_NR_BODY);
    *pf2 = *pf3 = 0;
    if ((f0 & SMFIF_SETSYMLIST) != 0 && (smfi_setsymlist(ctx, SMFIM_ENVFROM, mail) != MI_SUCCESS ||
                                         smfi_setsymlist(ctx, SMFIM_ENVRCPT, rcpt) != MI_SUCCESS ||
                                         smfi_setsymlist(ctx, SMFIM_EOM, eom) != MI_SUCCESS))
        return SMFIS_REJECT;
    return SMFIS_CONTINUE;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    (void)ctx, (void)host, (void)address;
    return SMFIS_NOREPLY;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
    (void)ctx, (void)argv;
    return SMFIS_NOREPLY;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
    (void)ctx, (void)argv;
    return SMFIS_CONTINUE;
}

static sfsistat on_end(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    static char name[] = "empty";
    const struct smfiDesc description = {
        .xxfi_name = name,
        .xxfi_version = SMFI_VERSION,
        .xxfi_flags = SMFIF_DELRCPT,
        .xxfi_connect = on_connect,
        .xxfi_envfrom = on_mail,
        .xxfi_envrcpt = on_rcpt,
        .xxfi_eom = on_end,
        .xxfi_abort = on_end,
        .xxfi_close = on_end,
        .xxfi_negotiate = on_negotiate,
    };
    if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(description) != MI_SUCCESS ||
        smfi_settimeout(7210) != MI_SUCCESS) {
        fprintf(stderr, "usage: milter_empty SOCKET-SPECIFICATION\n");
        return 2;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
