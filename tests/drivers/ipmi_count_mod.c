/*
 * A module for ipmi_sim (Debian: openipmi) that makes it a BMC for tests of a driver, without any machine behind it.
 *
 * ipmi_sim 2.0.33 answers Chassis Control 4 (pulse diagnostic interrupt) with completion code 0xCC. Here every such
 * request is one line in FOLDER/delivered, and is answered with the code in FOLDER/code (hexadecimal; 0 without one).
 * The power is always on.
 *
 *     loadlib "/path/ipmi_count_mod.so" "FOLDER"
 *
 * Build: gcc -shared -fPIC -o ipmi_count_mod.so ipmi_count_mod.c     (needs libopenipmi-dev)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <OpenIPMI/ipmi_msgbits.h>
#include <OpenIPMI/mcserv.h>
#include <OpenIPMI/serv.h>

static char delivered[4096], code_file[4096];

static unsigned char
code_to_answer(void)
{
    unsigned int code = 0;
    FILE *file = fopen(code_file, "r");

    if (!file)
	return 0;
    if (fscanf(file, "%x", &code) != 1)
	code = 0xff;
    fclose(file);
    return code;
}

static void
chassis_control(lmc_data_t *mc, msg_t *msg, unsigned char *rdata, unsigned int *rdata_len, void *cb_data)
{
    char line[80];
    int fd, length;

    length = snprintf(line, sizeof(line), "chassis control %d\n", msg->len ? msg->data[0] : -1);
    fd = open(delivered, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, length) != length)
	abort();
    close(fd);
    rdata[0] = code_to_answer();
    *rdata_len = 1;
}

static void
get_chassis_status(lmc_data_t *mc, msg_t *msg, unsigned char *rdata, unsigned int *rdata_len, void *cb_data)
{
    memset(rdata, 0, 4);
    rdata[1] = 0x01;
    *rdata_len = 4;
}

int
ipmi_sim_module_init(sys_data_t *sys, const char *folder)
{
    int rv;

    snprintf(delivered, sizeof(delivered), "%s/delivered", folder);
    snprintf(code_file, sizeof(code_file), "%s/code", folder);
    rv = ipmi_emu_register_cmd_handler(IPMI_CHASSIS_NETFN, IPMI_CHASSIS_CONTROL_CMD, chassis_control, NULL);
    if (rv)
	return rv;
    return ipmi_emu_register_cmd_handler(IPMI_CHASSIS_NETFN, IPMI_GET_CHASSIS_STATUS_CMD, get_chassis_status,
					 NULL);
}
