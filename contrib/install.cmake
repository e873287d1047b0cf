# What `cmake --install` puts where. The Debian package is made of the same files.
# Everything goes below the prefix but the policy, which is never put over one that is there.
set(share ${CMAKE_INSTALL_DATADIR}/rcptgate)
install(TARGETS rcptgate DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(FILES milter/rcptgate.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES policy/rcptgate-policy.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES milter/rcptgate-scale.7 milter/rcptgate-troubleshooting.7 DESTINATION ${CMAKE_INSTALL_MANDIR}/man7)
install(FILES policy/default.json policy/personal.json policy/business.json policy/policy.schema.json
              policy/aliases.sql DESTINATION ${share})
install(FILES contrib/prometheus/rcptgate.rules.yml DESTINATION ${share}/prometheus)
install(FILES contrib/grafana/rcptgate.json DESTINATION ${share}/grafana)
install(FILES contrib/postfix/postconf-lines DESTINATION ${share}/postfix)

# unit(FILE INSTANCE POLICY STATE): the unit, once for one gate and once as the template of several.
set(RCPTGATE_UNIT_DIR lib/systemd/system CACHE STRING "Where the systemd units go")
set(RCPTGATE_POLICY_DIR /etc/rcptgate) # where the program looks, whatever the prefix
function(unit file INSTANCE POLICY STATE)
  set(template ${CMAKE_CURRENT_SOURCE_DIR}/contrib/systemd/rcptgate.service.in)
  set(made ${CMAKE_CURRENT_BINARY_DIR}/systemd/${file})
  set(PROGRAM ${CMAKE_INSTALL_FULL_SBINDIR}/rcptgate)
  configure_file(${template} ${made} @ONLY)
  # Once more with the prefix that `cmake --install --prefix` names, which may be another one.
  install(CODE "
    set(PROGRAM \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR}/rcptgate\")
    set(INSTANCE \"${INSTANCE}\")
    set(POLICY \"${POLICY}\")
    set(STATE \"${STATE}\")
    configure_file(\"${template}\" \"${made}\" @ONLY)")
  install(FILES ${made} DESTINATION ${RCPTGATE_UNIT_DIR})
endfunction()
unit(rcptgate.service  ""     ${RCPTGATE_POLICY_DIR}/policy.json rcptgate)
unit(rcptgate@.service ", %i" ${RCPTGATE_POLICY_DIR}/%i.json     rcptgate/%i)
install(FILES contrib/systemd/rcptgate.sysusers DESTINATION lib/sysusers.d RENAME rcptgate.conf)
install(FILES contrib/systemd/rcptgate.tmpfiles DESTINATION lib/tmpfiles.d RENAME rcptgate.conf)
install(FILES contrib/systemd/paths.conf contrib/systemd/remote-redis.conf contrib/systemd/unix-only.conf
              contrib/systemd/rcptgate-aliases.service contrib/systemd/rcptgate-aliases.timer
        DESTINATION ${share}/systemd)

file(GLOB migration CONFIGURE_DEPENDS contrib/migration/*.md contrib/migration/*.sql contrib/migration/*.service contrib/migration/*.timer)
install(FILES ${migration} DESTINATION ${share}/migration)

# completion(FILE WHERE NAME): where the shells look for it.
function(completion file where name)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/contrib/completion/${file})
    install(FILES contrib/completion/${file} DESTINATION ${CMAKE_INSTALL_DATADIR}/${where} RENAME ${name})
  endif()
endfunction()
completion(rcptgate.bash bash-completion/completions rcptgate)
completion(rcptgate.zsh  zsh/vendor-completions      _rcptgate)
completion(rcptgate.fish fish/vendor_completions.d   rcptgate.fish)

install(CODE "
  set(policy \"\$ENV{DESTDIR}${RCPTGATE_POLICY_DIR}/policy.json\")
  if(NOT EXISTS \"\${policy}\")
    file(INSTALL \"${CMAKE_CURRENT_SOURCE_DIR}/policy/installed.json\" DESTINATION \"${RCPTGATE_POLICY_DIR}\"
         RENAME policy.json PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ)
  endif()")
